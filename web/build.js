// Writes headcount/page/built: the worker, the module for other pages, the page as one script, and the runtime.

import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const out = process.argv[2] ?? "../headcount/page/built";
const shared = {
  bundle: true,
  minify: true,
  target: "es2022",
  legalComments: "none",
  charset: "utf8",
  logLevel: "warning",
};
const banner = { js: "// Built from web/src with `npm run build`. Do not edit." };

mkdirSync(out, { recursive: true });
// A worker that comes from a blob finds itself at its own address, from which the runtime starts its threads.
const here = { "import.meta.url": "self.location.href" };
await build({
  ...shared,
  entryPoints: ["src/worker.js"],
  format: "iife", // browsers start no worker that is a module from a page on a disk
  define: here,
  banner: { js: `${banner.js}\n// Contains ONNX Runtime Web, (c) Microsoft Corporation, MIT License.` },
  outfile: `${out}/worker.js`,
});
await build({ ...shared, entryPoints: ["src/headcount.js"], format: "esm", banner, outfile: `${out}/headcount.js` });
await build({
  ...shared,
  entryPoints: ["../headcount/page/static/page.js"],
  format: "iife",
  define: { "import.meta.url": "document.baseURI" },
  plugins: [
    {
      name: "engine",
      setup: (one) =>
        one.onResolve({ filter: /\/headcount\.js$/ }, () => ({ path: `${import.meta.dirname}/src/headcount.js` })),
    },
  ],
  banner,
  outfile: `${out}/page.js`,
});

// The types of the module for other pages.
const types =
  "--allowJs --declaration --emitDeclarationOnly --target ES2022 --module ESNext --rootDir src --types".split(" ");
execFileSync("npx", ["tsc", "--ignoreConfig", ...types, "", "--outDir", out, "src/headcount.js"], { stdio: "inherit" });

const runtime = readFileSync("node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm");
writeFileSync(`${out}/runtime.wasm.gz`, gzipSync(runtime, { level: 9 }));
copyFileSync("onnxruntime.LICENSE.txt", `${out}/onnxruntime.LICENSE.txt`);
