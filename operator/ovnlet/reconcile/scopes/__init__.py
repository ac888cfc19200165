"""The scopes: families of keys that the loop keeps, one module each. None names another."""
