// Calls a surrogate file from C++, with libtorch alone:
//
//   ./call_surrogate cdr.pt < y.csv > c.csv
//   ./call_surrogate cdr.pt jacobian < y.csv > dc_dy.csv
//   ./call_surrogate cdr.pt --time < y.csv
//
// Standard input has one sample a line, y_1,...,y_n_in, in the dataset's units. Standard output has
// one line for each: the observables c_1,...,c_n_out, or the result of another method:
//
//   jacobian      dc_1/dy_1,...,dc_1/dy_n_in,dc_2/dy_1,...: n_out n_in numbers
//   predict_std   standard deviations of the errors of c
//   in_domain     1 in the training domain, 0 outside
//
// Samples outside the training domain are evaluated, and counted on standard error. --time prints
// the times of calls on one thread. The file also has the methods jvp(y, v) and vjp(y, w). Each method
// takes one sample, (n_in,), or a batch, (n, n_in), which costs less per sample.
#include <ATen/Parallel.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/script.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

using torch::Tensor;
using torch::jit::Method;
using torch::jit::Module;

// Returns the first sentence of an error of torch; the place in torch comes after it.
std::string reason(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  return text.substr(0, std::min(text.find('\n'), text.find(". ")));
}

// Reads a surrogate file, to the CPU.
Module load(const std::string& path) {
  if (!std::ifstream(path)) throw std::runtime_error("there is no file " + path);
  Module surrogate;
  try {
    surrogate = torch::jit::load(path, torch::kCPU);
  } catch (const c10::Error& error) {
    throw std::runtime_error(path + " is not a whole surrogate file: " + reason(error));
  }
  if (!surrogate.hasattr("lower") || !surrogate.find_method("in_domain"))
    throw std::runtime_error(path + " is a TorchScript file but not a surrogate");
  return surrogate;
}

double number(const std::string& cell, size_t row, size_t column) {
  char* end = nullptr;
  const double value = std::strtod(cell.c_str(), &end);
  const bool any = end != cell.c_str();
  while (std::isspace(static_cast<unsigned char>(*end))) ++end;
  if (!any || *end != '\0' || !std::isfinite(value))
    throw std::runtime_error("row " + std::to_string(row) + ", column " + std::to_string(column) +
                             ": '" + cell + "' is not a finite number");
  return value;
}

// Reads lines of n_in numbers, (n, n_in) float64, n >= 1; skips blank lines.
Tensor read_table(std::istream& input, size_t n_in) {
  std::vector<double> numbers;
  size_t row = 0;
  for (std::string line; std::getline(input, line);) {
    ++row;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    std::istringstream cells(line + ',');  // so that an empty last cell counts
    size_t column = 0;
    for (std::string cell; std::getline(cells, cell, ',');)
      numbers.push_back(number(cell, row, ++column));
    if (column != n_in)
      throw std::runtime_error("row " + std::to_string(row) + ": expected " + std::to_string(n_in) +
                               " columns; got " + std::to_string(column));
  }
  if (numbers.empty()) throw std::runtime_error("standard input holds no numbers");
  return torch::tensor(numbers, torch::kFloat64).view({-1, static_cast<int64_t>(n_in)});
}

// Writes (n, ...) values as n lines, exactly.
void write_table(const Tensor& values) {
  const Tensor table = values.to(torch::kFloat64).reshape({values.size(0), -1}).contiguous();
  const auto cells = table.accessor<double, 2>();
  for (int64_t i = 0; i < table.size(0); ++i)
    for (int64_t j = 0; j < table.size(1); ++j)
      std::printf("%.17g%c", cells[i][j], j + 1 < table.size(1) ? ',' : '\n');
}

// Prints the times of repeated calls of the first sample, and of a batch of all samples.
void time_calls(const Module& surrogate, const Tensor& Y) {
  struct Call {
    const char* name;
    Method method;
    std::vector<c10::IValue> inputs;
    int repeats;
    int64_t samples = 1;
    std::vector<double> microseconds = {};
  };
  const int64_t n = 4096;
  const Tensor y = Y[0].clone();
  const Tensor batch = Y.repeat({n / Y.size(0) + 1, 1}).narrow(0, 0, n).contiguous();
  const Tensor w = torch::ones_like(surrogate.get_method("forward")({y}).toTensor());
  std::vector<Call> calls = {
      {"forward", surrogate.get_method("forward"), {y}, 50},
      {"forward, batch of 4096", surrogate.get_method("forward"), {batch}, 1, n},
      {"jacobian", surrogate.get_method("jacobian"), {y}, 20},
      {"vjp", surrogate.get_method("vjp"), {y, w}, 20},
      {"predict_std", surrogate.get_method("predict_std"), {y}, 20},
  };
  at::set_num_threads(1);
  const int rounds = 100, first = -5;  // the first rounds compile
  for (int round = first; round < rounds; ++round) {
    for (Call& call : calls) {  // in turns, so that a change of the machine's pace meets all alike
      for (int i = 0; i < call.repeats; ++i) {
        const auto start = std::chrono::steady_clock::now();
        call.method(call.inputs);
        const auto end = std::chrono::steady_clock::now();
        const std::chrono::duration<double, std::micro> time = end - start;
        if (round >= 0) call.microseconds.push_back(time.count() / call.samples);
      }
    }
  }
  std::printf("%-28s%9s%9s\n", "microseconds a sample", "median", "least");
  for (auto& [name, method, inputs, repeats, samples, times] : calls) {
    std::sort(times.begin(), times.end());
    std::printf("%-28s%9.2f%9.2f\n", name, times[times.size() / 2], times[0]);
  }
}

void run(const std::string& path, const std::string& method) {
  const c10::InferenceMode no_gradients;  // a call takes 0.85 of the time
  // TorchScript's profiling executor would compile each method again in its first calls, for tenths
  // of a second, without a gain afterwards. Freezing the module has no gain either.
  torch::jit::getProfilingMode() = false;
  const Module surrogate = load(path);
  const Tensor Y = read_table(std::cin, surrogate.attr("lower").toTensor().size(0));

  const Tensor outside = surrogate.get_method("in_domain")({Y}).toTensor().logical_not().nonzero();
  if (outside.size(0) > 0)
    std::cerr << "warning: y is outside the training domain in " << outside.size(0) << " of "
              << Y.size(0) << " samples, first in sample " << outside[0].item<int64_t>()
              << " (from 0)\n";
  if (method == "--time") {
    time_calls(surrogate, Y);
  } else {
    for (const Tensor& y : Y.split(4096))  // which bounds the memory
      write_table(surrogate.get_method(method)({y}).toTensor());
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    throw std::runtime_error("cannot write to standard output");
}

int main(int argc, char** argv) {
  try {
    if (argc != 2 && argc != 3)
      throw std::runtime_error("expected a surrogate file and a method, forward unless named");
    run(argv[1], argc == 3 ? argv[2] : "forward");
  } catch (const c10::Error& error) {
    std::cerr << "error: " << reason(error) << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 2;
  }
}
