"""Parts of models: heads, blocks, adapters' modules, routing and the fused Llama body."""
