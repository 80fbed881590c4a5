"""Every binarization method on one net and one budget: accuracy, gain from CMIM, cost, size, speed."""
