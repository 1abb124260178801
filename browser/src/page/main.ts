// A stand-in until the page is written: the build needs an entry, and the kernels have to be part of what it makes.
import { fetchKernels } from "../learning/kernelFiles.ts";

void fetchKernels();
