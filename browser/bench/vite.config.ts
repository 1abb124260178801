import { defineConfig } from "vite";

export default defineConfig({
  root: import.meta.dirname,
  build: { target: "es2023", outDir: "dist", emptyOutDir: true, chunkSizeWarningLimit: 4000 },
});
