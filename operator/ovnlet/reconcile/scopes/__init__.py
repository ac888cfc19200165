"""The families of keys that the loop keeps, one module each."""
