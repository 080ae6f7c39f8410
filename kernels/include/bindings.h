// The parts of the binding; each checks arguments and defines its names in the module.
#pragma once

#include <pybind11/pybind11.h>

namespace tamis {

void bind_candidates(pybind11::module_& module);
void bind_lookups(pybind11::module_& module);
void bind_records(pybind11::module_& module);
void bind_taste(pybind11::module_& module);
void bind_towers(pybind11::module_& module);

}  // namespace tamis
