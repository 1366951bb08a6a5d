// Four applications with different grants use ZITADEL's own client and Connect's on the same sessions at the same time, each
// on a carrier of its own: shop gRPC, crm gRPC-web, support Connect with JSON, job Connect with protocol buffers.
//
//   node applications_zitadel.mjs '{"base":"http://127.0.0.1:PORT","tokens":{"shop":…,"crm":…,"support":…,"job":…},
//                                   "sessions":[id,…],"rounds":N}'
//
// prints {"counts":{"shop":{"ok":n,"7":n},…},"faults":[text,…]}. A fault is something that no grant allows.
import { createConnectTransport } from "@connectrpc/connect-node";
import { toJson } from "@zitadel/client";
import { createServerTransport } from "@zitadel/client/node";
import { createSessionServiceClient } from "@zitadel/client/v2";
import { createClientTransport } from "@zitadel/client/web";
import { SessionService } from "@zitadel/proto/zitadel/session/v2/session_service_pb.js";

const { base: baseUrl, tokens, sessions, rounds } = JSON.parse(process.argv[2]);
const faults = [];
const counts = {};
const DENIED = 7;

const bearer = (token) => (next) => (request) => {
  request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
const connect = (token, useBinaryFormat) =>
  createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat, interceptors: [bearer(token)] });
const clients = {
  shop: createSessionServiceClient(createServerTransport(tokens.shop, { baseUrl })),
  crm: createSessionServiceClient(createClientTransport(tokens.crm, { baseUrl })),
  support: createSessionServiceClient(connect(tokens.support, false)),
  job: createSessionServiceClient(connect(tokens.job, true)),
};

// The code of a call, which is counted, or `ok`; what it gives goes to `use`.
async function call(name, method, request, expected, use = () => {}) {
  let code = "ok";
  let failure = "";
  try {
    use(await clients[name][method](request, {}));
  } catch (error) {
    code = error.code ?? String(error);
    failure = String(error.cause ?? error);
  }
  counts[name] ??= {};
  counts[name][code] = (counts[name][code] ?? 0) + 1;
  if (!expected.includes(code)) faults.push(`${name} ${method}: ${code} ${failure}`);
}

const text = (value) => new TextEncoder().encode(value);

async function owner(name, own, foreign) {
  for (let round = 0; round < rounds; round++) {
    for (const sessionId of sessions) {
      let current = {};
      await call(name, "getSession", { sessionId }, ["ok"], (found) => (current = found.session.metadata));
      // The other may have changed its key between the read and this write.
      const value = text(`${name}-${round}`);
      await call(name, "setSession", { sessionId, metadata: { ...current, [own]: value } }, ["ok", DENIED]);
      await call(name, "setSession", { sessionId, metadata: { ...current, [foreign]: value } }, [DENIED]);
      await call(name, "deleteSession", { sessionId }, [DENIED]);
      await call(name, "listSessions", {}, [DENIED]);
    }
  }
}

async function support() {
  for (let round = 0; round < rounds * 4; round++) {
    for (const sessionId of sessions) {
      await call("support", "getSession", { sessionId }, ["ok"], (found) => {
        const shown = toJson(SessionService.method.getSession.output, found);
        if (shown.session.factors?.user?.loginName !== undefined) faults.push(`support sees ${JSON.stringify(shown)}`);
        if (shown.session.factors?.user?.id === undefined) faults.push("support does not see the user");
        for (const [key, value] of Object.entries(found.session.metadata)) {
          const written = new TextDecoder().decode(value);
          if (!written.startsWith(key === "cart_id" ? "shop-" : "crm-")) faults.push(`${key} is ${written}`);
        }
      });
      await call("support", "setSession", { sessionId, metadata: { cart_id: text("x") } }, [DENIED]);
    }
  }
}

async function job() {
  for (let round = 0; round < rounds * 4; round++) {
    await call("job", "listSessions", {}, ["ok"], (found) => {
      if (found.sessions.length < sessions.length) faults.push(`job lists ${found.sessions.length} sessions`);
    });
    await call("job", "getSession", { sessionId: sessions[0] }, [DENIED]);
  }
}

await Promise.all([owner("shop", "cart_id", "team_id"), owner("crm", "team_id", "cart_id"), support(), job()]);
console.log(JSON.stringify({ counts, faults }));
