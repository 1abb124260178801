/** Where the compiled kernels are served; the build puts both beside the page. */
import simdUrl from "../../build/kernels.wasm?url";
import scalarUrl from "../../build/kernels-scalar.wasm?url";
import { hasSimd } from "./kernels.ts";

/** The build of the kernels that this browser runs; both give the same bits. */
export async function fetchKernels(): Promise<WebAssembly.Module> {
  const response = await fetch(hasSimd() ? simdUrl : scalarUrl);
  return WebAssembly.compile(await response.arrayBuffer());
}
