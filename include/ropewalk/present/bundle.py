"""The JavaScript that draws charts in a browser, in one file: ``python -m ropewalk.present.bundle`` makes it anew."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent / "static"
SNIPPET = "window.vegaEmbed = vegaEmbed;"


def build() -> str:
    """Vega, Vega-Lite and Vega-Embed of the versions that draw the pictures, as one script."""
    import vl_convert

    versions = f"/* vega {vl_convert.get_vega_version()}, vega-embed {vl_convert.get_vega_embed_version()} */\n"
    return versions + vl_convert.javascript_bundle(SNIPPET).replace("</script", "<\\/script")


if __name__ == "__main__":
    STATIC.mkdir(exist_ok=True)
    (STATIC / "vega.js").write_text(build(), encoding="utf-8")
