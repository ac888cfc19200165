"""What an attachment costs, beside the least it could cost and beside others: `make bench`."""
