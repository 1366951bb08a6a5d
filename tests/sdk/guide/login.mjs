import { createServerTransport } from "@zitadel/client/node";
import { createSessionServiceClient } from "@zitadel/client/v2";
import { ErrorDetailSchema } from "@zitadel/proto/zitadel/message_pb.js";

const { ZITADEL_URL, ZITADEL_TOKEN, ZITADEL_SESSION_ID: sessionId } = process.env;
const transport = createServerTransport(ZITADEL_TOKEN, { baseUrl: ZITADEL_URL });
const sessions = createSessionServiceClient(transport);
const tier = (text) => ({ tier: new TextEncoder().encode(text) });

await sessions.setSession({ sessionId, metadata: tier("pro") });
const { session } = await sessions.getSession({ sessionId });
console.log(new TextDecoder().decode(session.metadata.tier));
try {
  await sessions.setSession({ sessionId, metadata: tier("gold") });
} catch (error) {
  console.log(error.code, error.rawMessage);
  console.log(error.findDetails(ErrorDetailSchema)[0].id);
}
process.exit(0); // Its HTTP/2 connection would keep the process.
