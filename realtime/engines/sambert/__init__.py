"""SAM-BERT + HiFi-GAN on numpy and ONNX Runtime; no torch at serving time."""
