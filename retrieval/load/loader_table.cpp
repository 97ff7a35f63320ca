// The one table of formats: to add a loader, write its function and name it here.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "corvid/base/hash.hpp"
#include "retrieval/load/source_file.hpp"

namespace corvid {
namespace {

using namespace retrieval;

struct Format {
  std::string_view type;
  std::string_view extensions;  // ".a.b." each between dots
  LoadFunction load;
  bool text;                    // its bytes are text: a NUL at the start means that the name lies
};

constexpr std::array kFormats{
    Format{"markdown", ".md.markdown.mdown.mkd.mdx.", load_markdown, true},
    Format{"html", ".html.htm.xhtml.", load_html, true},
    Format{"csv", ".csv.", load_csv, true},
    Format{"json", ".json.", load_json, true},
    Format{"jsonl", ".jsonl.ndjson.", load_jsonl, true},
    Format{"pdf", ".pdf.", load_pdf, false},
    Format{"code",
           ".c.h.cc.cpp.cxx.hh.hpp.hxx.cu.cuh.py.pyi.js.jsx.mjs.ts.tsx.java.kt.go.rs.rb.php.cs.swift.scala.sh.bash.zsh.fish.pl.pm.lua.r.jl.m.mm"
           ".sql.zig.hs.ml.mli.ex.exs.erl.clj.cmake.mk.proto.toml.yaml.yml.ini.cfg.css.scss.vim.el.lisp.scm.asm.s.v.sv.vhd.f90.f.d.dart.nim.",
           load_text, true},
    Format{"text", ".txt.text.log.rst.", load_text, true},
};

const Format& format_of(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (extension.size() > 1)
    for (const Format& format : kFormats)
      if (format.extensions.find(extension + ".") != std::string_view::npos) return format;
  return kFormats.back();
}

}  // namespace

std::string_view document_type(const std::filesystem::path& path) { return format_of(path).type; }

Result<Document> load_document(const std::filesystem::path& path, const LoadLimits& limits, const CancellationToken& cancellation) {
  CORVID_TRY_STATUS(cancellation.check());
  const Format& format = format_of(path);
  CORVID_TRY(SourceFile file, SourceFile::read(path, limits));
  const std::size_t sniffed = std::min<std::size_t>(file.bytes.size(), 8192);
  if (format.text && sniffed > 0 && std::memchr(file.bytes.data(), 0, sniffed) != nullptr)
    return fail(Error::unsupported("binary contents; only text, HTML and PDF files are read").at_file(path.string()));
  Document out;
  out.source = path.string();
  out.type = std::string(format.type);
  out.mtime = file.mtime;
  out.content_hash = to_hex(sha256(file.bytes));
  auto status = format.load(file, limits, cancellation, out);
  if (!status) return fail(std::move(status).error().at_file(path.string()));
  if (out.title.empty()) out.title = path.stem().string();
  return out;
}

namespace retrieval {

Status load_text(const SourceFile& file, const LoadLimits&, const CancellationToken&, Document& out) {
  if (!file.bytes.empty()) out.elements.push_back(file.element({0, file.bytes.size()}));
  return {};
}

}  // namespace retrieval
}  // namespace corvid
