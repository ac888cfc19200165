"""`make migration`: kube-ovn-cni to ovnlet and back, under traffic that loses nothing."""
