"""Makes the database of the folder `newer`: tables with the names and columns that Super-Light gives them.

What is written last stays in the log, as where a program was killed.
"""

import os
import sqlite3
import sys

path = sys.argv[1]
db = sqlite3.connect(path)
db.execute("PRAGMA journal_mode = WAL")
db.executescript(
    """
    CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE NOT NULL);
    CREATE TABLE whatsapp_sessions (
        id TEXT PRIMARY KEY, owner_email TEXT REFERENCES users(email) ON DELETE SET NULL,
        token TEXT NOT NULL, status TEXT DEFAULT 'DISCONNECTED' CHECK(status IN ('A', 'B') OR 1), detail TEXT,
        created_at DATETIME DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME
    );
    CREATE TABLE webhook_configs (
        session_id TEXT PRIMARY KEY REFERENCES whatsapp_sessions(id), url TEXT NOT NULL,
        created_at DATETIME, updated_at DATETIME
    );
    CREATE TABLE campaigns (id TEXT PRIMARY KEY);
    CREATE TABLE auto_replies (id TEXT PRIMARY KEY, keyword TEXT NOT NULL);
    CREATE TABLE chat_messages (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, body TEXT, size REAL);
    """
)
at = "2025-12-20 10:00:00"
row = "INSERT INTO whatsapp_sessions VALUES (?, 'admin@localhost', ?, 'CONNECTED', NULL, ?, ?)"
db.execute(row, ("toko", "an old token, replaced in the log", at, at))
db.execute("INSERT INTO users VALUES ('1', 'admin@localhost')")
# Enough for several pages, and one row that does not fit into one.
for number in range(90):
    body = "Halo " * 12 if number else "panjang " * 1500
    db.execute("INSERT INTO chat_messages VALUES (?, 'toko', ?, ?)", (f"3EB0{number}", body, number / 7))
db.commit()
db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
token = "55555555-5555-4555-8555-555555555555"
db.execute("UPDATE whatsapp_sessions SET token = ? WHERE id = 'toko'", (token,))
db.commit()
db.execute(row, ("gudang", "66666666-6666-4666-8666-666666666666", at, at))
db.execute("INSERT INTO webhook_configs VALUES ('toko', 'https://hooks.example.org/toko', ?, ?)", (at, at))
db.execute("INSERT INTO webhook_configs VALUES ('gudang', 'http://hooks.example.org/gudang', ?, ?)", (at, at))
db.commit()
os.remove(path + "-shm")
os._exit(0)
