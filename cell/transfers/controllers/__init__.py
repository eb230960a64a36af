"""HTTP of share transfers: for the customers who bring shares, and for the operators who decide."""
