import { existsSync } from "node:fs";

/** Before any test: the compiled kernels have to be there. */
export default function kernelsBuilt(): void {
  if (!existsSync(new URL("../build/kernels.wasm", import.meta.url))) {
    throw new Error("The kernels are not built; run: python browser/build_hook.py");
  }
}
