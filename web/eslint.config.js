import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    files: ["src/**", "../headcount/page/static/**"],
    languageOptions: { globals: { ...globals.browser, ...globals.worker } },
  },
  { files: ["*.js"], languageOptions: { globals: globals.node } },
];
