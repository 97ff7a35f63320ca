// The tables of collections. Text, places, metadata and vectors of a chunk are one row; its postings are the lexical index's.
#pragma once

#include "corvid/storage/workspace.hpp"

namespace corvid::retrieval {

inline constexpr Migration kMigrations[] = {
    {"retrieval", 1,
     "CREATE TABLE collections(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, embedder_folder TEXT NOT NULL,"
     " embedder_identity TEXT NOT NULL, dimension INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,"
     " generation INTEGER NOT NULL);"
     "CREATE TABLE files(id INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL REFERENCES collections(id), source TEXT NOT NULL,"
     " title TEXT NOT NULL, type TEXT NOT NULL, mtime INTEGER NOT NULL, content_hash TEXT NOT NULL, metadata TEXT NOT NULL,"
     " UNIQUE(collection, source));"
     "CREATE TABLE chunks(id INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL REFERENCES files(id), ordinal INTEGER NOT NULL,"
     " text TEXT NOT NULL, byte_begin INTEGER NOT NULL, byte_end INTEGER NOT NULL, line_first INTEGER NOT NULL, line_last INTEGER NOT NULL,"
     " page INTEGER, heading TEXT NOT NULL, metadata TEXT NOT NULL, tokens INTEGER NOT NULL, vector BLOB NOT NULL, UNIQUE(file, ordinal));"},
};

}  // namespace corvid::retrieval
