"""Many streams at once through a real `neuron serve`, beside llama.cpp's server."""
