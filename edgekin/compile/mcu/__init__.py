"""Target mcu: a self-model as standalone C99 for microcontrollers, and its proof on emulated ones."""
