-- A GUE dissector (variant 0) for tshark, which has none of its own before version 4.4: four bytes, then Wireshark's own dissectors.
--
--   0                   1                   2                   3
--  | 0 |C|  Hlen   | Proto / ctype |             Flags             |

local gue = Proto("gue", "Generic UDP Encapsulation")
local f_version = ProtoField.uint8("gue.version", "Version", base.DEC, nil, 0xc0)
local f_control = ProtoField.uint8("gue.control", "Control", base.DEC, nil, 0x20)
local f_length = ProtoField.uint8("gue.hlen", "Header length in words", base.DEC, nil, 0x1f)
local f_proto = ProtoField.uint8("gue.proto", "Protocol", base.DEC)
local f_flags = ProtoField.uint16("gue.flags", "Flags", base.HEX)
gue.fields = { f_version, f_control, f_length, f_proto, f_flags }

function gue.dissector(buffer, packet, tree)
  local header = 4 + 4 * bit.band(buffer(0, 1):uint(), 0x1f)
  local branch = tree:add(gue, buffer(0, header))
  branch:add(f_version, buffer(0, 1))
  branch:add(f_control, buffer(0, 1))
  branch:add(f_length, buffer(0, 1))
  branch:add(f_proto, buffer(1, 1))
  branch:add(f_flags, buffer(2, 2))
  local proto = buffer(1, 1):uint()
  local inner = buffer(header):tvb()
  if proto == 4 then Dissector.get("ip"):call(inner, packet, tree) end
  if proto == 41 then Dissector.get("ipv6"):call(inner, packet, tree) end
end

DissectorTable.get("udp.port"):add(6080, gue)
