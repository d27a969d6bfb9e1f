"""A simulation that speaks IMDv3: sends the frames of a Universe through a socket, as the protocol
describes it.
"""

import socket
import struct
import threading

import numpy as np

HANDSHAKE, SESSION_INFO, GO, TIME, BOX, POSITIONS, VELOCITIES = 4, 10, 3, 12, 13, 2, 14


class IMDServer:
    """Frames [n_frames, n_atoms, 3] in Å and Å/ps, cell vectors [3, 3] in Å, times [n_frames] in
    ps.
    """

    def __init__(self, positions, velocities, cell, times, *, with_velocities=True):
        self.frames = (
            np.asarray(positions, "<f4"),
            np.asarray(velocities, "<f4"),
            np.asarray(times, float),
        )
        self.box = np.asarray(cell, "<f4").tobytes()
        self.with_velocities = with_velocities
        self.listener = socket.create_server(("localhost", 0))
        self.address = f"imd://localhost:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.thread.join(10)

    def serve(self):
        connection, _ = self.listener.accept()
        with connection:
            connection.sendall(struct.pack("!i", HANDSHAKE) + struct.pack("<i", 3))
            # time, energies, box, positions, wrapped, velocities, forces
            flags = struct.pack("<7B", 1, 0, 1, 1, 0, int(self.with_velocities), 0)
            connection.sendall(struct.pack("!ii", SESSION_INFO, 7) + flags)
            answer = connection.recv(8, socket.MSG_WAITALL)
            assert struct.unpack("!ii", answer)[0] == GO
            n_atoms = self.frames[0].shape[1]
            for step, (position, velocity, time) in enumerate(zip(*self.frames, strict=True)):
                packet = struct.pack("!ii", TIME, 1) + struct.pack("<ddQ", 5e-4, time, step)
                packet += struct.pack("!ii", BOX, 1) + self.box
                packet += struct.pack("!ii", POSITIONS, n_atoms) + position.tobytes()
                if self.with_velocities:
                    packet += struct.pack("!ii", VELOCITIES, n_atoms) + velocity.tobytes()
                connection.sendall(packet)
