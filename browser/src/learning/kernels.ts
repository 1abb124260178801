/**
 * The compiled kernels (browser/kernels/*.c) and the one linear memory that they work in.
 *
 * Memory is planned first and taken once: `reserveFloats` and `reserveBytes` answer addresses, `commit` grows the memory,
 * and only then are there views, which stay valid because it never grows again.
 */

import { SettingsError } from "../errors.ts";

/** An address in the kernels' memory, in bytes. */
export type Address = number;

/** The functions of the module; the contracts are in the C files, beside the code. */
export interface KernelFunctions {
  gemm_workspace_floats(): number;
  gemm(
    c: Address,
    a: Address,
    b: Address,
    m: number,
    n: number,
    k: number,
    aTransposed: number,
    bTransposed: number,
    accumulate: number,
    workspace: Address,
  ): void;
  bytes_to_floats(to: Address, from: Address, n: number, scale: number): void;
  activation_forward(to: Address, from: Address, n: number, activation: number): void;
  bias_activation_forward(y: Address, bias: Address, rows: number, columns: number, activation: number): void;
  activation_backward(gradient: Address, y: Address, n: number, activation: number): void;
  column_sums(to: Address, from: Address, rows: number, columns: number): void;
  softmax(probabilities: Address, logits: Address, rows: number, classes: number): void;
  softmax_cross_entropy(
    gradient: Address,
    logits: Address,
    labels: Address,
    rows: number,
    classes: number,
    examples: number,
    correct: Address,
  ): number;
  sgd_change(change: Address, gradient: Address, n: number, rate: number): void;
  sgd_step(vector: Address, gradient: Address, n: number, rate: number): void;
  momentum_change(
    change: Address,
    gradient: Address,
    velocity: Address,
    n: number,
    rate: number,
    momentum: number,
  ): void;
  momentum_step(
    vector: Address,
    gradient: Address,
    velocity: Address,
    n: number,
    rate: number,
    momentum: number,
  ): void;
  adam_change: AdamFunction;
  adam_step: AdamFunction;
  add(vector: Address, change: Address, n: number): void;
}

type AdamFunction = (
  changeOrVector: Address,
  gradient: Address,
  mean: Address,
  square: Address,
  n: number,
  rate: number,
  beta1: number,
  beta2: number,
  rest1: number,
  rest2: number,
  rootCorrection: number,
  epsilon: number,
) => void;

const PAGE_BYTES = 65_536;
const PAGES_MAX = 65_535; // 4 GiB less one page, so that every address and length fits in 32 bits
const ALIGNMENT_BYTES = 64; // a cache line; also makes room for the four floats at a time that optimisers.c works on
/** As the build's `stack-size`; only an instance in another's memory needs one of its own. */
const STACK_BYTES = 16_384;

/** One instance of the module, with a memory of its own or in that of another. */
export class Kernels {
  readonly module: WebAssembly.Module;
  #exports: WebAssembly.Exports;
  #memory: WebAssembly.Memory;
  readonly #isShared: boolean;
  #end: Address;
  #committed = false;

  private constructor(
    module: WebAssembly.Module,
    memory: WebAssembly.Memory,
    exports: WebAssembly.Exports,
    isShared: boolean,
    end: Address,
  ) {
    this.module = module;
    this.#memory = memory;
    this.#exports = exports;
    this.#isShared = isShared;
    this.#end = roundUp(end, ALIGNMENT_BYTES);
  }

  /**
   * Compile and instantiate; `wasm` is kernels.wasm, or kernels-scalar.wasm where `hasSimd()` is false. With `shared` it is
   * kernels-shared.wasm, and other threads may `attach` instances of their own once the memory is committed.
   */
  static async load(wasm: BufferSource | WebAssembly.Module, shared = false): Promise<Kernels> {
    const module = wasm instanceof WebAssembly.Module ? wasm : await WebAssembly.compile(wasm);
    const memory = new WebAssembly.Memory(shared ? { initial: 1, maximum: 1, shared } : { initial: 1 });
    const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
    return new Kernels(module, memory, exports, shared, (exports.__heap_base as WebAssembly.Global).value);
  }

  /** An instance for this thread in the memory of another, whose plan begins at `base`, with its stack. */
  static attach(module: WebAssembly.Module, memory: WebAssembly.Memory, base: Address): Kernels {
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    const kernels = new Kernels(module, memory, exports, true, base);
    (exports.__stack_pointer as WebAssembly.Global).value = kernels.reserveStack();
    return kernels;
  }

  get functions(): KernelFunctions {
    return this.#exports as unknown as KernelFunctions;
  }

  get memory(): WebAssembly.Memory {
    return this.#memory;
  }

  /** Where the next reservation will lie. */
  get end(): Address {
    return this.#end;
  }

  /** Plan room for the stack of one more instance; where it begins, as stacks grow downwards. */
  reserveStack(): Address {
    return this.reserveBytes(STACK_BYTES) + STACK_BYTES;
  }

  /** Plan room for `count` floats, zero at first; 64-byte aligned. */
  reserveFloats(count: number): Address {
    return this.reserveBytes(count * 4);
  }

  /** Plan room for `count` bytes, zero at first; 64-byte aligned. */
  reserveBytes(count: number): Address {
    if (this.#committed) {
      throw new Error("the kernels' memory is committed: reserve before");
    }
    const address = this.#end;
    this.#end += roundUp(count, ALIGNMENT_BYTES);
    return address;
  }

  /** Take the planned memory. SettingsError where the browser does not give it. */
  commit(): void {
    this.#committed = true;
    const pages = Math.ceil(this.#end / PAGE_BYTES);
    try {
      if (pages > PAGES_MAX) {
        throw new RangeError("beyond 32-bit addresses");
      }
      if (this.#isShared) {
        // A shared memory takes the room for its largest size at once, so it is made when that is known.
        this.#memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
        this.#exports = new WebAssembly.Instance(this.module, { env: { memory: this.#memory } }).exports;
      } else {
        this.#memory.grow(Math.max(pages - this.#memory.buffer.byteLength / PAGE_BYTES, 0));
      }
    } catch {
      const mebibytes = Math.ceil((pages * PAGE_BYTES) / 2 ** 20);
      throw new SettingsError(
        `The model needs ${mebibytes} MiB of memory, which this browser does not give; close other tabs or use a smaller model.`,
      );
    }
  }

  floats(address: Address, count: number): Float32Array {
    return new Float32Array(this.#memory.buffer, address, count);
  }

  integers(address: Address, count: number): Int32Array {
    return new Int32Array(this.#memory.buffer, address, count);
  }

  bytes(address: Address, count: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, address, count);
  }

  /** The address of a view of `count` floats; SettingsError, with `what` in its sentence, where it is no such view. */
  addressOf(view: Float32Array, count: number, what: string): Address {
    if (view.buffer !== this.#memory.buffer || view.length !== count) {
      throw new SettingsError(
        `The ${what} must be ${count} floats in the engine's own memory, such as engine.vector or a region reserved at load.`,
      );
    }
    return view.byteOffset;
  }
}

/** Whether this browser runs the SIMD build; where not, the scalar build gives the same bits. */
export function hasSimd(): boolean {
  // (module (func (result v128) i32.const 0 i8x16.splat i8x16.popcnt)): refused by engines without SIMD
  const probe = [
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98,
    11,
  ];
  return globalThis.WebAssembly?.validate(new Uint8Array(probe)) ?? false;
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
