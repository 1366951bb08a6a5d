// ZITADEL's own client and Connect's, on every carrier: what comes of each call, as one array of JSON.
//   node zitadel.mjs '{"base":"http://127.0.0.1:8080","token":"…"}'
import { createConnectTransport } from "@connectrpc/connect-node";
import { createServerTransport } from "@zitadel/client/node";
import { createSessionServiceClient } from "@zitadel/client/v2";
import { createClientTransport } from "@zitadel/client/web";

const { base, token } = JSON.parse(process.argv[2]);
const bearer = (next) => (request) => {
  request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
const connect = (httpVersion, useBinaryFormat) =>
  createConnectTransport({ baseUrl: base, httpVersion, useBinaryFormat, interceptors: [bearer] });
const transports = {
  "grpc": createServerTransport(token, { baseUrl: base }),
  "grpc-web": createClientTransport(token, { baseUrl: base }),
  "connect json": connect("1.1", false),
  "connect proto": connect("1.1", true),
  "connect proto over http2": connect("2", true),
};
const bytes = (text) => new TextEncoder().encode(text);
const plain = (key, value) => {
  if (typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString();
  return key.startsWith("$") ? undefined : value;
};

const results = [];
for (const [carrier, transport] of Object.entries(transports)) {
  const client = createSessionServiceClient(transport);
  const attempt = async (name, call) => {
    let result;
    try {
      result = { ok: JSON.parse(JSON.stringify(await call(), plain)) };
    } catch (error) {
      const details = (error.details ?? []).map((detail) => detail.type);
      result = { error: error.constructor.name, code: error.code, message: error.rawMessage, details };
    }
    results.push({ carrier, case: name, result });
    return result.ok;
  };
  const made = await attempt("create", () =>
    client.createSession({ metadata: { tier: bytes("free") }, lifetime: { seconds: 3600n, nanos: 0 } }, {}));
  const sessionId = made?.sessionId ?? "none";
  const set = (change) => client.setSession({ sessionId, ...change }, {});
  await attempt("get", () => client.getSession({ sessionId, sessionToken: made?.sessionToken }, {}));
  await attempt("set", () => set({ metadata: { tier: bytes("pro") } }));
  await attempt("get after", () => client.getSession({ sessionId }, {}));
  await attempt("clamped", () => set({ lifetime: { seconds: 99999999n, nanos: 0 } }));
  await attempt("refused key", () => set({ metadata: { tier: bytes("gold") } }));
  await attempt("refused code", () =>
    set({ challenges: { otpEmail: { deliveryType: { case: "returnCode", value: {} } } } }));
  await attempt("refused link", () =>
    set({ challenges: { otpEmail: { deliveryType: { case: "sendCode", value: { urlTemplate: "https://evil.example/{{.Code}}" } } } } }));
  await attempt("refused by the provider's rules", () => set({ checks: { totp: { code: "12" } } }));
  await attempt("nothing", () => set({}));
  await attempt("list", () => client.listSessions({}, {}));
  await attempt("get missing", () => client.getSession({ sessionId: "404" }, {}));
  await attempt("delete", () => client.deleteSession({ sessionId }, {}));
  await attempt("get deleted", () => client.getSession({ sessionId }, {}));
}
console.log(JSON.stringify(results));
process.exit(0);
