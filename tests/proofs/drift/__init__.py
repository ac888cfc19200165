"""`make drift`: what a foreign hand breaks on a running node, what a foreign eye sees repaired, and after how long."""
