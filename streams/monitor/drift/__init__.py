"""How far what the model saw is from what it was trained on, and whether that is more than its world always moves. Room: pure."""
