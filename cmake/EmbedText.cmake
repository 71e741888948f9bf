# Writes a C++ file that holds text files as string literals:
#   cmake -DOUTPUT=x.cpp -DINPUTS="a.json;b.json" -P EmbedText.cmake
set(rows "")
foreach(input IN LISTS INPUTS)
  get_filename_component(name "${input}" NAME_WE)
  file(READ "${input}" content)
  # Compilers limit one literal to 64 KiB: pieces of 12 000 characters join by themselves.
  string(LENGTH "${content}" length)
  set(literal "")
  set(at 0)
  while(at LESS length)
    string(SUBSTRING "${content}" ${at} 12000 piece)
    string(APPEND literal "R\"json(${piece})json\"\n")
    math(EXPR at "${at} + 12000")
  endwhile()
  string(APPEND rows "    {\"${name}\",\n${literal}},\n")
endforeach()
file(WRITE "${OUTPUT}" "#include \"layers/built_in.h\"\n\nnamespace ptynet {\n\n"
     "const std::vector<BuiltIn>& built_in_files() {\n"
     "  static const std::vector<BuiltIn> files{\n${rows}  };\n  return files;\n}\n\n"
     "}  // namespace ptynet\n")
