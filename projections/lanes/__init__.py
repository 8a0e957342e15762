"""How records come to the worker: by faust, or in whole batches by a plain consumer."""
