"""IndexTTS-2 on numpy and ONNX Runtime; no torch at serving time."""
