"""The guided tour's ten steps and what comes after them, each a live control on the real model."""
