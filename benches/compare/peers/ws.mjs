// The loop that a Node server with `ws` runs: each message to each client.

import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0 }, () => {
    console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

server.on("connection", (socket) => {
    socket.on("message", (message, isBinary) => {
        for (const client of server.clients) {
            client.send(message, { binary: isBinary });
        }
    });
});
