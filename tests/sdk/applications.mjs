// Four applications with different grants use Auth0's official Node SDK on the same sessions at the same time.
//
//   node applications.mjs '{"base":"https://127.0.0.1:PORT","tokens":{"shop":…,"crm":…,"support":…,"job":…,"other":…},
//                           "sessions":[id,…],"user_id":…,"rounds":N}'
//
// prints {"counts":{"shop":{"200":n,"403":n},…},"faults":[text,…]}. A fault is something that no grant allows.
import { ManagementClient } from "auth0";

const input = JSON.parse(process.argv[2]);
const faults = [];
const counts = {};

function management(name) {
  return new ManagementClient({
    domain: new URL(input.base).host,
    token: input.tokens[name],
    maxRetries: 0,
    timeoutInSeconds: 20,
  });
}

// The status of a call, which is counted; what it gives goes to `use`.
async function call(name, request, use = () => {}) {
  let status = 200;
  try {
    use(await request());
  } catch (error) {
    status = error.statusCode ?? String(error);
  }
  counts[name] ??= {};
  counts[name][status] = (counts[name][status] ?? 0) + 1;
  return status;
}

function expect(status, expected, what) {
  if (!expected.includes(status)) faults.push(`${what}: ${status}`);
}

// Sets a key of its own beside what it reads, and tries to set one of the other application's.
async function owner(name, own, foreign) {
  const client = management(name);
  for (let round = 0; round < input.rounds; round++) {
    for (const id of input.sessions) {
      let current = {};
      expect(await call(name, () => client.sessions.get(id), (session) => (current = session.session_metadata ?? {})), [200], `${name} reads`);
      const change = { ...current, [own]: `${name}-${round}` };
      // The other may have changed its key between the read and this write.
      expect(await call(name, () => client.sessions.update(id, { session_metadata: change })), [200, 403], `${name} sets ${own}`);
      const stolen = { ...current, [foreign]: `${name}-${round}` };
      expect(await call(name, () => client.sessions.update(id, { session_metadata: stolen })), [403], `${name} sets ${foreign}`);
      expect(await call(name, () => client.sessions.delete(id)), [403], `${name} deletes`);
    }
  }
}

async function support() {
  const client = management("support");
  for (let round = 0; round < input.rounds * 4; round++) {
    for (const id of input.sessions) {
      const status = await call("support", () => client.sessions.get(id), (session) => {
        const text = JSON.stringify(session);
        if (/_ip"|\d+\.\d+\.\d+\.\d+/.test(text.replaceAll(/"[^"]*user_agent":"[^"]*"/g, ""))) faults.push(`support sees an address: ${text}`);
        const metadata = session.session_metadata ?? {};
        if ("cart_id" in metadata && !metadata.cart_id.startsWith("shop-")) faults.push(`cart_id is ${metadata.cart_id}`);
        if ("team_id" in metadata && !metadata.team_id.startsWith("crm-")) faults.push(`team_id is ${metadata.team_id}`);
      });
      expect(status, [200], "support reads");
      expect(await call("support", () => client.sessions.update(id, { session_metadata: { cart_id: "x" } })), [403], "support writes");
      expect(await call("support", () => client.users.sessions.list(input.user_id)), [403], "support lists");
    }
  }
}

async function job() {
  const client = management("job");
  for (let round = 0; round < input.rounds * 4; round++) {
    const status = await call("job", () => client.users.sessions.list(input.user_id), (page) => {
      if (page.data.length === 0) faults.push("job lists nothing");
    });
    expect(status, [200], "job lists");
    expect(await call("job", () => client.sessions.get(input.sessions[0])), [403], "job reads");
  }
}

async function other() {
  const client = management("other");
  for (const id of input.sessions) {
    expect(await call("other", () => client.sessions.get(id)), [403], "other reads");
    expect(await call("other", () => client.sessions.revoke(id)), [403], "other revokes");
    expect(await call("other", () => client.users.sessions.list(input.user_id)), [403], "other lists");
  }
}

await Promise.all([owner("shop", "cart_id", "team_id"), owner("crm", "team_id", "cart_id"), support(), job(), other()]);
console.log(JSON.stringify({ counts, faults }));
