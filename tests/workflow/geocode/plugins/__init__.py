"""What the stage can do."""
