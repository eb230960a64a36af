"""One user moves from a cell to another: the mover's side of the protocol, the proof, the receipt, who may not move."""
