"""The proof of provider networks: moves, faults and the way back, over the API server's uplink."""
