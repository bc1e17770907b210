import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    languageOptions: { globals: { ...globals.browser, ...globals.worker } },
    rules: { "no-unused-vars": ["error", { ignoreRestSiblings: true }] },
  },
  { files: ["*.js"], languageOptions: { globals: globals.node } },
];
