// winston-loki ships a program's log as snappy-compressed protobuf. Usage: ship_logs.mjs URL
// Its packages are in the folder that NODE_PATH names.
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_PATH + "/");
const winston = require("winston");
const LokiTransport = require("winston-loki");

const failed = [];
const transport = new LokiTransport({
  host: process.argv[2],
  labels: { app: "node-shop" },
  json: false,
  batching: true,
  interval: 1,
  format: winston.format.json(),
  onConnectionError: (error) => failed.push(error),
});
const logger = winston.createLogger({ transports: [transport] });
for (let number = 0; number < 50; number++) {
  logger.info(`number ${number}`, { cart: number });
}
logger.error("the till is stuck – ünïcödé", { labels: { region: "eu" } });
await new Promise((done) => setTimeout(done, 500));
await transport.flush();
if (failed.length > 0) {
  console.error(failed);
  process.exit(1);
}
console.log("ok");
process.exit(0);
