"""Parts for robustcmr, written as anybody outside the project would write them."""
