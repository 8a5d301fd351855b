"""Imported before the fork where the datasets are in a bucket: what each client of one needs is loaded once.

That is boto3, and the description of S3 that its default session keeps: half a second of every task else. Nobody is
asked for credentials here, and no connection is opened: each task's own client does that.
"""

from __future__ import annotations

import boto3

NOBODY = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}

boto3.client("s3", region_name="us-east-1", **NOBODY)
