// Calls a surrogate file from C++, with libtorch alone: ./call_surrogate cdr.pt < y.csv > c.csv
//
// Rows of y are read from standard input, rows of c written to standard output, then a line with
// the Frobenius norm of the Jacobian dc/dy of the first row.
#include <torch/script.h>

#include <iomanip>
#include <iostream>
#include <sstream>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "error: give the surrogate file\n";
    return 2;
  }
  torch::jit::Module surrogate = torch::jit::load(argv[1]);
  std::vector<torch::Tensor> rows;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream cells(line);
    std::vector<double> row;
    for (std::string cell; std::getline(cells, cell, ',');) row.push_back(std::stod(cell));
    rows.push_back(torch::tensor(row, torch::kFloat64));
  }
  torch::Tensor y = torch::stack(rows);
  torch::Tensor c = surrogate.forward({y}).toTensor().contiguous();
  std::cout << std::setprecision(17);
  for (int64_t i = 0; i < c.size(0); ++i)
    for (int64_t j = 0; j < c.size(1); ++j)
      std::cout << c[i][j].item<double>() << (j + 1 < c.size(1) ? ',' : '\n');
  torch::Tensor jacobian = surrogate.get_method("jacobian")({y[0]}).toTensor();
  std::cout << jacobian.norm().item<double>() << '\n';
}
