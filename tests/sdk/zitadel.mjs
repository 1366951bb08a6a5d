// ZITADEL's own client and Connect's, on every carrier and in both versions of the API: what comes of each call, as one array
// of JSON. Answers are in the API's own JSON.
//   node zitadel.mjs '{"base":"http://127.0.0.1:8080","token":"…","user_id":"…","password":"…"}'
import { createConnectTransport } from "@connectrpc/connect-node";
import { createClientFor, toJson } from "@zitadel/client";
import { createServerTransport } from "@zitadel/client/node";
import { createSessionServiceClient } from "@zitadel/client/v2";
import { createClientTransport } from "@zitadel/client/web";
import { SessionService } from "@zitadel/proto/zitadel/session/v2/session_service_pb.js";
import { SessionService as BetaService } from "@zitadel/proto/zitadel/session/v2beta/session_service_pb.js";

const { base, token, user_id: userId, password } = JSON.parse(process.argv[2]);
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
// Only `v2beta` asks for the session's token with a change.
const versions = {
  v2: { service: SessionService, make: createSessionServiceClient, showsToken: false },
  v2beta: { service: BetaService, make: createClientFor(BetaService), showsToken: true },
};
const tier = (text) => ({ tier: new TextEncoder().encode(text) });
const seconds = (count) => ({ seconds: count, nanos: 0 });
const sendCode = (urlTemplate) => ({ deliveryType: { case: "sendCode", value: { urlTemplate } } });
const checks = (password) => ({ user: { search: { case: "userId", value: userId } }, password: { password } });
const webAuthN = { domain: "login.example.com", userVerificationRequirement: 1 };
const everything = (name, urlTemplate) => ({
  metadata: tier(name),
  lifetime: seconds(7200n),
  checks: checks(password),
  challenges: { otpEmail: sendCode(urlTemplate), webAuthN },
});
const link = "https://login.example.com/otp?code={{.Code}}";
const evil = "https://evil.example/{{.Code}}";

const described = (error) => ({
  class: error.constructor.name,
  code: error.code,
  message: error.rawMessage ?? String(error),
  details: (error.details ?? []).map(({ type, value }) => ({ type, value: Buffer.from(value).toString("base64") })),
});

async function run(carrier, transport, { service, make, showsToken }) {
  const client = make(transport);
  const results = [];
  let sessionId = "none";
  let sessionToken = "";
  const attempt = async (name, method, request) => {
    let result;
    try {
      const answer = await client[method](request, {});
      result = { ok: toJson(service.method[method].output, answer) };
      sessionToken = answer.sessionToken || sessionToken;
    } catch (error) {
      result = { error: described(error) };
    }
    results.push({ carrier, case: name, result });
    return result.ok;
  };
  const get = (name, request) => attempt(name, "getSession", { sessionId, ...request });
  const set = (name, change) =>
    attempt(name, "setSession", { sessionId, ...(showsToken ? { sessionToken } : {}), ...change });

  const made = await attempt("create", "createSession", { metadata: tier("free"), lifetime: seconds(3600n) });
  await attempt("rejected create", "createSession", { metadata: tier("gold"), lifetime: seconds(3600n) });
  sessionId = made?.sessionId ?? sessionId;
  await get("get", { sessionToken });
  await set("set", { metadata: tier("pro") });
  await get("get after");
  await set("set everything", everything("enterprise", link));
  await get("get everything");
  await set("clamped", { lifetime: seconds(99999999n) });
  await get("get clamped");
  await set("rejected key", { metadata: tier("gold") });
  await set("rejected code", { challenges: { otpEmail: { deliveryType: { case: "returnCode", value: {} } } } });
  await set("rejected link", { challenges: { otpEmail: sendCode(evil) } });
  await set("rejected everything", everything("gold", evil));
  await set("rejected by the provider's rules", { checks: { totp: { code: "12" } } });
  await set("wrong password", { checks: checks("wrong") });
  await set("nothing", {});
  if (showsToken) {
    await set("without token", { sessionToken: "", metadata: tier("pro") });
  }
  await attempt("list", "listSessions", { queries: [{ query: { case: "idsQuery", value: { ids: [sessionId] } } }] });
  await get("get missing", { sessionId: "404" });
  await attempt("delete", "deleteSession", { sessionId });
  await get("get deleted");
  return results;
}

const results = [];
for (const [carrier, transport] of Object.entries(transports)) {
  for (const [version, kind] of Object.entries(versions)) {
    results.push(...(await run(`${carrier} ${version}`, transport, kind)));
  }
}
// HTTP/2 connections stay open and would keep the process; but a pipe has to take everything before the end.
process.stdout.write(JSON.stringify(results) + "\n", () => process.exit(0));
