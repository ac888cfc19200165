"""Installing, updating and removing ovnlet on an empty bed, as an operator does it: `make e2e-install`."""
