import { defineConfig } from "vite";

export default defineConfig({
  build: {
    target: "es2023",
    outDir: "../signaling/page/dist",
    emptyOutDir: true,
    sourcemap: false,
    // WebAssembly stays a file of its own, so that browsers compile it while it streams in
    assetsInlineLimit: (file) => (file.endsWith(".wasm") ? false : undefined),
  },
  worker: { format: "es" },
});
