"""The guided tour's ten steps, each a live control on the real model."""
