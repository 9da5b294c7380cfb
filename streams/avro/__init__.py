"""Bytes to columns and back, by contracts; the only room that knows fastavro."""
