// Prints every fault of an AsyncAPI document; ends with 1 when one is an error.
const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");

const ERROR = 0;
const path = process.argv[2];

new Parser().parse(readFileSync(path, "utf8"), { source: path }).then(({ document, diagnostics }) => {
  for (const { severity, code, message, path: at } of diagnostics) {
    console.log(`${severity === ERROR ? "error" : "remark"} at ${at.join(".")}: ${message} (${code})`);
  }
  if (!document || diagnostics.some(({ severity }) => severity === ERROR)) process.exit(1);
});
