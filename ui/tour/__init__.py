"""The guided tour's eleven steps, each a live control on the real model."""
