"""`make e2e-install`: install, update and remove ovnlet on an empty test bed."""
