"""`make bench`: what an attachment costs, compared with the least it could cost and with others."""
